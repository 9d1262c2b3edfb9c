"""The only writer of rows.

What is kept here, whatever dies in between:
(1) every write of a holder names delivery and fencing token; a stale token changes nothing;
(2) a record takes its sequence number from the run's wake counter under the lock of the turn's row, so numbers
    are committed in order, and a step that has one is never written again (resume apart);
(3) whatever gives a run something to do raises the wake counter and makes the turn due unless it is held; a
    holder gives the turn back as not due only if the counter is what it read before the journal;
(4) a change of state is one conditional UPDATE that names the state it comes from;
(5) rows are locked in one order: an event, step deliveries, the turn, the run, its steps (`runs.lock`), its waiters;
    several turns by their ids (`events.match`).
"""
