"""Pages and sitemaps of a site, one after another, read in a process of their own."""
