package fleet

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"apron"
)

func TestWords(t *testing.T) {
	for command, want := range map[string][]string{
		"":                                 nil,
		"  ":                               nil,
		"./server":                         {"./server"},
		"node server.js":                   {"node", "server.js"},
		" a\t b ":                          {"a", "b"},
		`sh -c 'exec node "x y"'`:          {"sh", "-c", `exec node "x y"`},
		`a "b c" d`:                        {"a", "b c", "d"},
		`a "b\"c\\d\n"`:                    {"a", `b"c\d\n`},
		`a\ b c`:                           {"a b", "c"},
		`''`:                               {""},
		`a'b'"c"`:                          {"abc"},
		`a 'unclosed b`:                    {"a", "unclosed b"},
		`trailing\`:                        {`trailing\`},
		`gunicorn --log-file - app:app $X`: {"gunicorn", "--log-file", "-", "app:app", "$X"},
	} {
		if diff := cmp.Diff(want, words(command)); diff != "" {
			t.Errorf("words(%q) (-want +got):\n%s", command, diff)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got := environment("eu-west-1", apron.RunConfiguration{
		Port: "9000", Env: map[string]string{"MODE": "a=b", "AWS_REGION": "mine"},
	})
	want := []string{"AWS_DEFAULT_REGION=eu-west-1", "AWS_REGION=mine", "MODE=a=b", "PORT=9000"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func FuzzWords(f *testing.F) {
	for _, s := range []string{"a b", `a "b`, `\`, "'", `"\a"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, command string) {
		total := 0
		for _, w := range words(command) {
			total += len(w)
		}
		if total > 4*len(command) { // an invalid byte becomes a three-byte replacement
			t.Errorf("words(%q) made %d bytes of %d", command, total, len(command))
		}
	})
}
