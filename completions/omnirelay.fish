complete --keep-order --exclusive --command omnirelay --arguments "(OMNIRELAY_COMPLETE=fish omnirelay -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
