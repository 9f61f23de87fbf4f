"""`attnprobe view`: one or two runs in the browser, served to this machine."""
