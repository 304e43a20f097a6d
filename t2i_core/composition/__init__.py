"""Runs that draw together: a system is a folder that names one for each role."""
