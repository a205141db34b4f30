package fleet

import (
	"maps"
	"slices"
	"strings"

	"apron"
	"apron/engine"
)

// spec says what an instance of the revision needs, in the engine's terms.
func spec(svc apron.Service, rev apron.Revision) engine.Spec {
	run := rev.Run()
	command := words(run.StartCommand)
	if rev.Config.Source.Code != nil {
		command = nil // a built image starts it, by a shell
	}
	return engine.Spec{
		Revision: rev.ID, Service: svc.ID, ServiceName: svc.Name,
		Image:   rev.Image,
		Command: command,
		Env:     environment(svc.Scope.Region, run),
		Port:    run.PortNumber(), MilliCPU: rev.Config.Instance.MilliCPU, MemoryMiB: rev.Config.Instance.MemoryMiB,
		HealthCheck: rev.Config.HealthCheck,
		Runtime:     rev.Config.Extensions.Runtime, StopTimeout: rev.Config.Extensions.StopTimeout,
	}
}

// environment returns what App Runner sets for every application (developer guide, "PORT"; the
// region variables are present on the service too) and what the client asked for, which wins but
// for PORT, a reserved name.
func environment(region string, run apron.RunConfiguration) []string {
	env := map[string]string{"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
	maps.Copy(env, run.Env)
	env["PORT"] = run.Port
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}

// words splits a start command as a shell would, without running one: white space separates,
// quotes and backslashes group, nothing is expanded. An empty command has no words.
func words(command string) []string {
	var (
		list   []string
		word   strings.Builder
		quote  rune
		inWord bool
		escape bool
	)
	for _, c := range command {
		switch {
		case escape:
			if quote == '"' && c != '"' && c != '\\' && c != '$' && c != '`' {
				word.WriteRune('\\') // POSIX: inside double quotes a backslash keeps its meaning before others
			}
			word.WriteRune(c)
			escape = false
		case c == '\\' && quote != '\'':
			escape, inWord = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t':
			if inWord {
				list = append(list, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if escape {
		word.WriteRune('\\')
	}
	if inWord {
		list = append(list, word.String())
	}
	return list
}
