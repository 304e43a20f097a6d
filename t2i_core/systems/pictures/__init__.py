"""What stages do to pictures before they learn from them: parts hidden, small ones made worse."""
