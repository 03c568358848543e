"""What is logged about requests, off by default: accesses, and rows with answers.

    protocols, the application ─► access.py ─┐
    the predictor ─► rows.py ────────────────┴► writer.py: queue, thread ─► sinks.py

A request never waits for a log: what finds the queue full is dropped and counted.
"""
