"""The web page: the rack as a picture, kept up to date, and a chat; with it the controller's metrics.

Belongs here: the HTTP application, who may look, what looks while somebody does, the static files of the page.
Does not: what the picture holds (`controller/picture.py`), decisions, requests of clients: the page's chat goes from
the browser to a gateway.
"""
