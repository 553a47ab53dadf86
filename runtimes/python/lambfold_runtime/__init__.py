"""Lambfold's Python runtime. Start-up time is a feature: modules here import only what is built in or tiny;
whatever an ordinary invocation does not need (`traceback`, `logging`, `json` with `re`) is imported on first use."""
