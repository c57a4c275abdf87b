"""Data sets and models that come from elsewhere, fetched once into a cache that only ever holds
whole ones.

`fetch` knows names and tries their pinned sources in order; the other files know one way of getting
bytes each: HTTP, a model hub, a wheel, an archive, a GGUF file, a folder or a bucket of the user's
own. None of them knows Ray, settings, or what the files mean.
"""
