"""What carries consistency tokens from one process to the next: `asgi`, `wsgi`, `jobs` and `celery`.

Each is imported by its own name, so that nobody loads what somebody else's framework needs.
"""
