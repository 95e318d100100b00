"""Catalogs: provider profiles, STAC search, the item table, link signing.

The entry points are `profile.load_profile`, `search.search`, `items.ItemTable`,
`sign.open_signer` and `serve.serve_catalog`.
"""
