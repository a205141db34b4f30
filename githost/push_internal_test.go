package githost

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzReadUpdates(f *testing.F) {
	a, zero := strings.Repeat("a", 40), strings.Repeat("0", 40)
	for _, seed := range []string{
		a + " " + zero + " refs/heads/main\n\n", zero + " " + a + " refs/tags/v1\n" + a + " " + a + " refs/heads/b c\n\nrest",
		a + " " + a + " refs/heads/main\n", "\n", "", a, strings.Repeat("b", 64) + " " + zero + " x\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, u := range readUpdates(bytes.NewReader(text)) {
			if u.Ref == "" || u.Old != "" && !object.MatchString(u.Old) || u.New != "" && !object.MatchString(u.New) {
				t.Errorf("update %#v", u)
			}
		}
	})
}
