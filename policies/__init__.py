"""Policies choose the plan of every request; estimators tell them what link and cloud can do."""
