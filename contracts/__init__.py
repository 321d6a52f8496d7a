"""The published language of Heaters: events, values, topics and error shapes.

Everything here is data. It may be imported by any service, by the console and by other
systems; it imports pydantic and the standard library only.
"""
