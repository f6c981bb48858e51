"""Small helpers without a subject of their own: files, digests, JSON, suggestions, progress."""
