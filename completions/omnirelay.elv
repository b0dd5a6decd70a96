set edit:completion:arg-completer[omnirelay] = { |@words|
    var index = (count $words)
    set index = (- $index 1)

    put (env _CLAP_IFS="\n" _CLAP_COMPLETE_INDEX=(to-string $index) OMNIRELAY_COMPLETE="elvish" omnirelay -- $@words) | to-lines
}

