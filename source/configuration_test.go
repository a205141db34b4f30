package source_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"apron"
	"apron/source"
)

// minimal is the smallest file, with what is to follow each section.
func minimal(build, run string) string {
	return "version: 1.0\nruntime: nodejs22\nbuild:\n  commands:\n    build:\n      - npm ci\n" + build +
		"run:\n  command: node server.js\n" + run
}

func TestConfiguration(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want := source.Configuration{
		Runtime: "python311", RuntimeVersion: "3.10", RuntimeLine: 2, VersionLine: 26,
		PreBuild:  []string{"./tools/fetch-assets.sh"},
		Build:     []string{"pip3 install --target ./deps -r requirements.txt", "echo \"a: b\"\necho c\n"},
		PostBuild: []string{"python3 -m unittest discover tests"},
		PreRun:    []string{"pip3 install -r requirements.txt"},
		BuildEnv:  []source.Variable{{"PIP_NO_CACHE_DIR", "1"}, {"DEBUG", "yes"}, {"N", "1e3"}, {"NOTHING", "~"}, {"EMPTY", ""}},
		Run: apron.RunConfiguration{
			Port: "9000", StartCommand: "python3 -m app --log json",
			Env: map[string]string{"MODE": "production", "ZIP": "08080", "APP_PORT": "9000"},
			Secrets: map[string]string{
				"DB_PASSWORD": "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf:password::", "API_HOST": "/prod/api-host",
			},
		},
	}
	for name, form := range map[string]string{
		"as it is": string(text),
		"windows":  "\ufeff" + strings.ReplaceAll(string(text), "\n", "\r\n"),
	} {
		got, problems := source.ParseConfiguration([]byte(form))
		if len(problems) > 0 {
			t.Errorf("%s: problems %v", name, problems)
		}
		if name == "windows" {
			for i, command := range got.Build {
				got.Build[i] = strings.ReplaceAll(command, "\r\n", "\n")
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestConfigurationForms(t *testing.T) {
	tests := map[string]struct {
		text string
		want func(*source.Configuration)
	}{
		"minimal":      {minimal("", ""), func(*source.Configuration) {}},
		"version 1":    {strings.Replace(minimal("", ""), "1.0", "1", 1), func(*source.Configuration) {}},
		"version text": {strings.Replace(minimal("", ""), "1.0", `"1.0"`, 1), func(*source.Configuration) {}},
		"document":     {"---\n" + minimal("", ""), func(*source.Configuration) {}},
		"one command": {
			strings.Replace(minimal("", ""), "build:\n      - npm ci", "build: npm ci", 1), func(*source.Configuration) {},
		},
		"dashes in the key's column": {
			strings.Replace(minimal("", ""), "      - npm ci", "    - npm ci", 1), func(*source.Configuration) {},
		},
		"space before the colon": {strings.Replace(minimal("", ""), "runtime:", "runtime :", 1), func(*source.Configuration) {}},
		"anchors": {
			minimal("  env: &both\n    - name: A\n      value: b\n", "  env: *both\n"),
			func(c *source.Configuration) {
				c.BuildEnv, c.Run.Env = []source.Variable{{"A", "b"}}, map[string]string{"A": "b"}
			},
		},
		"an unquoted ARN that ends in colons": {
			minimal("", "  secrets:\n    - name: S\n      value-from: arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1:password::\n"),
			func(c *source.Configuration) {
				c.Run.Secrets = map[string]string{"S": "arn:aws:secretsmanager:us-east-1:123456789012:secret:rds!db-1:password::"}
			},
		},
		"padded port": {minimal("", "  network:\n    port: 03000\n"), func(c *source.Configuration) { c.Run.Port = "3000" }},
		"docker": {
			"version: 1.0\nruntime: docker\n",
			func(c *source.Configuration) {
				c.Runtime, c.Dockerfile, c.Build, c.Run.StartCommand = "docker", "Dockerfile", nil, ""
			},
		},
		"another Dockerfile": {
			"version: 1.0\nruntime: docker\nx-apron:\n  dockerfile: build/Dockerfile\nrun:\n  network:\n    port: 80\n",
			func(c *source.Configuration) {
				c.Runtime, c.Dockerfile, c.Build, c.Run.StartCommand, c.Run.Port = "docker", "build/Dockerfile", nil, "", "80"
			},
		},
		"a natural runtime": {
			strings.Replace(minimal("", ""), "nodejs22", "nodejs24", 1), func(c *source.Configuration) { c.Runtime = "nodejs24" },
		},
	}
	for name, tt := range tests {
		want := source.Configuration{
			Runtime: "nodejs22", Build: []string{"npm ci"}, Run: apron.RunConfiguration{Port: "8080", StartCommand: "node server.js"},
		}
		tt.want(&want)
		got, problems := source.ParseConfiguration([]byte(tt.text))
		if len(problems) > 0 {
			t.Errorf("%s: problems %v", name, problems)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(got, "RuntimeLine", "VersionLine")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestConfigurationProblems(t *testing.T) {
	replaced := func(old, with string) string { return strings.Replace(minimal("", ""), old, with, 1) }
	fatal := map[string]struct{ text, want string }{
		"nothing":         {"", "it is empty"},
		"only a comment":  {"# later\n", "it is empty"},
		"two documents":   {minimal("", "---\na: b\n"), "more than one document"},
		"broken":          {"version: 1.0\n  runtime: go1\n", "it is no YAML: line 2"},
		"indentation":     {replaced("    build:\n", "     pre-build:\n      - x\n    build:\n"), "look at the indentation from there on"},
		"a list":          {"- version\n", "line 1: it must be a mapping"},
		"no version":      {replaced("version: 1.0\n", ""), "line 1, version: it is missing"},
		"another version": {replaced("1.0", "2.0"), "line 1, version: only version 1.0"},
		"no runtime":      {replaced("runtime: nodejs22\n", ""), "runtime: it is missing"},
		"no such runtime": {replaced("nodejs22", "python3.11"), "line 2, runtime: python3.11 is no managed runtime; there are python3, python311"},
		"node":            {replaced("nodejs22", "node"), "there are nodejs12, nodejs14, nodejs16, nodejs18, nodejs22"},
		"rust":            {replaced("nodejs22", "rust"), "there are corretto11, corretto8, dotnet6"},
		"no build":        {"version: 1.0\nruntime: go1\nrun:\n  command: ./main\n", "build: it is missing"},
		"no commands":     {"version: 1.0\nruntime: go1\nbuild:\n  env: []\nrun:\n  command: ./main\n", "line 3, build.commands: it is missing"},
		"no build phase":  {replaced("    build:\n", "    pre-build:\n"), "build.commands.build: it is missing"},
		"empty phase":     {replaced("\n      - npm ci", ""), "build.commands.build: it is missing"},
		"blank runtime":   {replaced("nodejs22", "' '"), "runtime: it is missing"},
		"blank commands":  {replaced("- npm ci", "- ''"), "build.commands.build: it has no command"},
		"no run":          {replaced("run:\n  command: node server.js\n", ""), "run: it is missing"},
		"no command":      {replaced("command:", "comand:"), "run.command: it is missing"},
		"twice":           {minimal("", "  command: node other.js\n"), "line 9, run.command: it is there twice"},
		"a mapping":       {replaced("- npm ci", "- echo: b"), `line 6, build.commands.build: a command is a mapping: put one with ": " in it in quotes`},
		"a list of lists": {replaced("- npm ci", "- [npm, ci]"), "line 6, build.commands.build: it must be text"},
		"a list as text":  {replaced("node server.js", "[node, server.js]"), "line 8, run.command: it must be text"},
		"port 0":          {minimal("", "  network:\n    port: 0\n"), "line 10, run.network.port: it is no port number"},
		"port word":       {minimal("", "  network:\n    port: http\n"), "run.network.port"},
		"large port":      {minimal("", "  network:\n    port: 65536\n"), "run.network.port"},
		"port variable":   {minimal("", "  network:\n    env: A=B\n"), "line 10, run.network.env: it is no name"},
		"env as mapping":  {minimal("", "  env:\n    A: b\n"), "line 10, run.env: it must be a list of entries with name and value"},
		"env as text":     {minimal("", "  env: A=b\n"), "line 9, run.env: it must be a list"},
		"no value":        {minimal("", "  env:\n    - name: A\n"), "line 10, run.env: an entry needs name and value"},
		"no name":         {minimal("", "  env:\n    - value: A\n"), "line 10, run.env: an entry needs name and value"},
		"empty name":      {minimal("", "  env:\n    - name: ''\n      value: A\n"), "run.env.name: it is no name"},
		"bad name":        {minimal("", "  env:\n    - name: A=B\n      value: A\n"), "run.env.name: it is no name"},
		"reserved":        {minimal("", "  env:\n    - name: PORT\n      value: 3000\n"), "run.env: PORT is reserved"},
		"reserved secret": {minimal("", "  secrets:\n    - name: PORT\n      value-from: p\n"), "run.secrets: PORT is reserved"},
		"empty secret":    {minimal("", "  secrets:\n    - name: S\n      value-from:\n"), "value-from of S is empty"},
		"both": {
			minimal("", "  env:\n    - name: A\n      value: b\n  secrets:\n    - name: A\n      value-from: p\n"), "line 12, run.secrets: A is in run.env too",
		},
		"pre-run": {
			strings.Replace(minimal("", "  pre-run:\n    - echo\n"), "nodejs22", "nodejs16", 1), "line 9, run.pre-run: the build of nodejs16 has no pre-run phase",
		},
		"escaping Dockerfile": {"version: 1.0\nruntime: docker\nx-apron:\n  dockerfile: ../Dockerfile\n", "x-apron.dockerfile: it is no path below"},
		"Dockerfile of a runtime": {
			minimal("", "x-apron:\n  dockerfile: Dockerfile\n"), "line 10, x-apron.dockerfile: it needs runtime: docker",
		},
		"merge key": {"a: &a\n  version: 1.0\n<<: *a\n", "only plain keys"},
		"too large": {"# " + strings.Repeat("x", 256<<10), "larger than 256 KiB"},
	}
	for name, tt := range fatal {
		_, problems := source.ParseConfiguration([]byte(tt.text))
		err := problems.Err()
		if apron.KindOf(err) != apron.Invalid || !strings.HasPrefix(err.Error(), "Failed to validate configuration file: ") ||
			!strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestConfigurationWarnings(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"unknown":        {minimal("", "colour: red\n"), "line 9, colour: unknown and ignored"},
		"misplaced env":  {minimal("", "env:\n  - name: A\n    value: b\n"), "line 9, env: unknown and ignored; it belongs at build.env or run.env"},
		"misplaced port": {minimal("", "  port: 3000\n"), "line 9, run.port: unknown and ignored; it belongs at run.network.port"},
		"API only":       {minimal("", "cpu: 1024\n"), "line 9, cpu: unknown and ignored; it can be set with the API only"},
		"commands as list": {
			strings.Replace(minimal("", ""), "  commands:\n    build:\n      - npm ci", "  commands:\n    - npm ci", 1),
			"line 5, build.commands: commands belong below build.commands.build; they are taken as the build",
		},
		"lone cd":       {strings.Replace(minimal("", ""), "npm ci", "cd web", 1), "line 6, build.commands.build: each command begins in the source directory"},
		"empty command": {strings.Replace(minimal("", ""), "- npm ci", "- npm ci\n      -", 1), "line 7, build.commands.build: a command is empty"},
		"PORT declared": {
			minimal("", "  network:\n    port: 3000\n    env: PORT\n  env:\n    - name: PORT\n      value: 4000\n"), "run.env: PORT is reserved",
		},
		"the port's variable": {
			minimal("", "  network:\n    env: APP_PORT\n  env:\n    - name: APP_PORT\n      value: 4000\n"), "run.network.env: APP_PORT is in run.env too",
		},
		"variable twice": {
			minimal("  env:\n    - name: A\n      value: 1\n    - name: A\n      value: 2\n", ""), "line 10, build.env: A is set twice",
		},
		"docker with commands": {strings.Replace(minimal("", ""), "nodejs22", "docker", 1), "commands are ignored"},
	}
	for name, tt := range tests {
		c, problems := source.ParseConfiguration([]byte(tt.text))
		if err := problems.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if len(problems) != 1 || !strings.Contains(problems[0].String(), tt.want) {
			t.Errorf("%s: problems %v, want one with %q", name, problems, tt.want)
		}
		if name == "PORT declared" && (c.Run.Port != "3000" || len(c.Run.Env) != 0) {
			t.Errorf("port %s, environment %v", c.Run.Port, c.Run.Env)
		}
		if name == "the port's variable" && c.Run.Env["APP_PORT"] != "8080" {
			t.Errorf("environment %v", c.Run.Env)
		}
	}
}

// A value never gets into a problem: it may be a credential.
func TestConfigurationKeepsValues(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, text := range []string{
		minimal("", "  network:\n    port: "+secret+"\n"), minimal("", "  env: "+secret+"\n"),
		minimal("", "  env:\n    - name: A\n      valu: "+secret+"\n"), minimal("", "  env:\n    - "+secret+"\n"),
		minimal("", "  env:\n    - name: PORT\n      value: "+secret+"\n"), minimal("", "  env: *"+"x\n  secret: "+secret+"\n"),
	} {
		_, problems := source.ParseConfiguration([]byte(text))
		if problems.Err() == nil || strings.Contains(problems.Err().Error(), secret) {
			t.Errorf("%v", problems.Err())
		}
	}
}

func FuzzConfiguration(f *testing.F) {
	full, err := os.ReadFile(filepath.Join("testdata", "full.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	for _, seed := range []string{
		minimal("", ""), "\xef\xbb\xbf" + minimal("", ""), "a: &a [*a]", "? [a]\n: b", "a: b\n---\nc: d", "run:\n  env: &e\n    - *e\n",
		"version: 1.0\nruntime: docker\nx-apron: {dockerfile: D}\n", "run:\n  secrets:\n  - value-from: arn:::\n", "%YAML 9.9\n---\n!!binary x: y",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, problems := source.ParseConfiguration(text)
		again, _ := source.ParseConfiguration(text)
		if !cmp.Equal(c, again) {
			t.Error("two readings differ")
		}
		for _, p := range problems {
			if p.Text == "" || p.Line < 0 || strings.ContainsAny(p.String(), "\n\r\x00") {
				t.Errorf("problem %#v", p)
			}
		}
		if problems.Err() != nil {
			return
		}
		if c.Runtime == "" || c.Run.PortNumber() == 0 || c.Runtime != source.RuntimeDocker && c.Run.StartCommand == "" && len(problems) == 0 {
			t.Errorf("accepted %+v", c)
		}
		for _, env := range []map[string]string{c.Run.Env, c.Run.Secrets} {
			for name, value := range env {
				if name == "" || name == "PORT" || strings.ContainsAny(name+value, "\x00") {
					t.Errorf("variable %q", name)
				}
			}
		}
	})
}
