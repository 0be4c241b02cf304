"""The Python interface: what `import recae` shows of the rooms below, with the options of the command line as words."""
