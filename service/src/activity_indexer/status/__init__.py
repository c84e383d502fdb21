"""How everything is, at one look: topics, groups, index, audit, dead letters, versions."""
