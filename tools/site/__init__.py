"""The documentation as a site: generated pages first, then all pages by Sphinx."""
