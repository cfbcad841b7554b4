"""Their events, not ours: a mapping from any JSON object or table row to an event.

In: the ``mapping_*`` keys of the configuration and records in a shape of somebody else's. Out: the
`Event` or `LabelEvent` that each one is, or why it is none. It is here so that nobody has to
rewrite a topic to have it learned. `decoder` puts it together; `paths` says where something lies,
`kinds` what a field's value becomes, `text` and `moments` do two of those kinds, `labels` reads
labels, `fields` flattens and remembers shapes; `infer` and `sketch` look at somebody's events and
write the configuration, `trial` shows what events become under it.

Importing the package imports none of them: the settings need `paths` only.
"""
