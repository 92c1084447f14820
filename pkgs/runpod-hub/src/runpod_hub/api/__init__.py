"""The HTTP face: routes, their documents, and who may call them.

Routes read the same operations and the same board as the dashboard and decide nothing.
"""
