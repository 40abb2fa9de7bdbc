"""The projection: events, visits, persons and rollups, derived from the event journal in batches.

Data flows one way: `projection` reads a batch, `visits` loads the visits of its visitors, `sessionizer` computes how
they change, `rollup_writer` counts the changes, and all of it is written in one transaction.
"""
