"""An agent of LangGraph, run by `temporalio-langgraph`, governed."""
