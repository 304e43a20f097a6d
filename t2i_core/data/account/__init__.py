"""What a dataset holds, told to people, to programs and to the owners of sites."""
