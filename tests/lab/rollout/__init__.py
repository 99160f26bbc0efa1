"""A whole rollout on a lab: its course, what stops it, and how it is taken up again."""
