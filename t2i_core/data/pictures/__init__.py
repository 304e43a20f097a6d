"""Untrusted bytes to one stored picture, in processes of their own."""
