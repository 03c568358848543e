"""The parent process: watch, stage, publish, signal, reap."""
