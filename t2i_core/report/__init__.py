"""What all reports share: the looks of a page, and charts drawn without a library."""
