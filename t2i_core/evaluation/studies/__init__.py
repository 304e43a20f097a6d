"""What is found out about a system by drawing more with it: its ways of guidance, its upsampler, its edits."""
