package builder

// startCommand returns the argument vector that runs a start command: a shell line, in practice, with
// && and $PORT and globs. bash replaces itself with the last command of the line, so that the
// application gets the SIGTERM at its end; a plain sh is told to.
func startCommand(line string) []string {
	return []string{"/bin/sh", "-c", `if [ -x /bin/bash ]; then exec /bin/bash -c "$0"; fi; exec /bin/sh -c "$0"`, line}
}
