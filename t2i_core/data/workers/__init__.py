"""Processes that hold untrusted bytes: confined, limited, started anew when one dies."""
