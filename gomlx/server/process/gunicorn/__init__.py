"""Gunicorn: its master with our settings, its worker, and what it answers itself.

The supervisor starts the master as `python -m gomlx.server.process.gunicorn`; it forks
the workers, and each of these builds its service (service.py) on its event loop.
"""
