"""One module per scenario.

Each holds the workflow twice, ``sync`` and ``asynchronous``, and ``play(stage)``, which triggers it, moves the clock
and says what has to be. ``tests/test_cases.py`` plays all of them in every mode, with crashes at every write too, so a
play asks `Stage.ran()` how often a body ran. Where the driving process itself matters to the play, ``IN_ONE_PROCESS`` says so.
"""
