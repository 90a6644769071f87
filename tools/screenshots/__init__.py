"""Pictures of the portal's pages: `__main__` takes them, `shots` lists the pages, `furniture` fills them."""
