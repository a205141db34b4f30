package api_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

var (
	randomRequests = flag.Int("requests", 150, "random requests per action")
	randomSeed     = flag.Uint64("seed", 20200515, "seed of the random requests")
)

// apiModel is model.json as the tests read it.
type apiModel struct {
	Actions []struct {
		Name, Input string
		Errors      []string
	}
	Shapes []*modelShape

	byName map[string]*modelShape
}

type modelShape struct {
	Name, Type string
	Min, Max   *int
	Pattern    string
	Enum       []string
	Of, Key    string
	Members    []struct {
		Name, Shape string
		Required    bool
	}
}

func loadModel(t testing.TB) *apiModel {
	t.Helper()
	data, err := os.ReadFile("model.json")
	if err != nil {
		t.Fatal(err)
	}
	m := &apiModel{byName: map[string]*modelShape{}}
	if err := json.Unmarshal(data, m); err != nil {
		t.Fatal(err)
	}
	for _, s := range m.Shapes {
		m.byName[s.Name] = s
	}
	return m
}

// TestRandomRequests sends every action requests that are nearly right, from a fixed seed. Each
// must be answered with success or with an error of the action's set.
func TestRandomRequests(t *testing.T) {
	m := loadModel(t)
	if len(m.Actions) != 37 {
		t.Fatalf("%d actions", len(m.Actions))
	}
	f := newFront(t)
	arn := f.create(t, "web-app")
	for _, a := range m.Actions {
		t.Run(a.Name, func(t *testing.T) {
			g := &generator{Rand: rand.New(rand.NewPCG(*randomSeed, uint64(len(a.Name)))), model: m, arn: arn}
			codes := map[string]int{}
			for range *randomRequests {
				body := g.body(a.Input)
				w := f.call(t, a.Name, body)
				if w.Code == http.StatusOK {
					if !json.Valid(w.Body.Bytes()) {
						t.Fatalf("%s: %s", body, w.Body)
					}
					codes["success"]++
					continue
				}
				p := problemOf(t, w)
				codes[p.Type]++
				if w.Code != http.StatusBadRequest || p.Message == "" || utf8.RuneCountInString(p.Message) > 600 ||
					p.Type != "SerializationException" && !slices.Contains(a.Errors, p.Type) {
					t.Fatalf("%s: %d %+v\n%s", body, w.Code, p, f.log)
				}
			}
			t.Log(codes)
			f.log.Reset()
		})
	}
}

// generator makes requests out of the model, with a mistake here and there.
type generator struct {
	*rand.Rand
	model *apiModel
	arn   string
	slips float64 // how likely a value is wrong
}

func (g *generator) body(input string) string {
	g.slips = []float64{0, 0.01, 0.1, 0.5}[g.IntN(4)]
	body := g.value(g.model.byName[input])
	if g.Float64() < g.slips/4 { // damage the JSON itself
		i := g.IntN(len(body) + 1)
		body = body[:i] + string(rune(g.IntN(256))) + body[min(i+g.IntN(3), len(body)):]
	}
	return body
}

func (g *generator) value(s *modelShape) string {
	if g.Float64() < g.slips {
		return g.wrong()
	}
	switch s.Type {
	case "structure":
		return g.structure(s)
	case "list":
		var items []string
		for range g.IntN(4) {
			items = append(items, g.value(g.model.byName[s.Of]))
		}
		return "[" + strings.Join(items, ",") + "]"
	case "map":
		var items []string
		for i := range g.IntN(4) {
			items = append(items, fmt.Sprintf("%q:%s", fmt.Sprintf("NAME_%d", i), g.value(g.model.byName[s.Of])))
		}
		return "{" + strings.Join(items, ",") + "}"
	case "integer":
		lo, hi := 1, 30
		if s.Min != nil {
			lo = *s.Min
		}
		if s.Max != nil {
			hi = *s.Max
		}
		return fmt.Sprint(lo + g.IntN(hi-lo+1))
	case "boolean":
		return fmt.Sprint(g.IntN(2) == 0)
	default:
		b, _ := json.Marshal(g.text(s))
		return string(b)
	}
}

func (g *generator) structure(s *modelShape) string {
	var items []string
	for _, mb := range s.Members {
		if (mb.Required && g.Float64() >= g.slips) || (!mb.Required && g.IntN(2) == 0) {
			items = append(items, fmt.Sprintf("%q:%s", mb.Name, g.value(g.model.byName[mb.Shape])))
		}
	}
	if g.Float64() < g.slips {
		items = append(items, `"Unknown":`+g.wrong())
	}
	g.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	return "{" + strings.Join(items, ",") + "}"
}

func (g *generator) text(s *modelShape) string {
	if len(s.Enum) > 0 {
		return s.Enum[g.IntN(len(s.Enum))]
	}
	samples := map[string][]string{
		"AppRunnerResourceArn": {
			g.arn, missingARN, "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/DefaultConfiguration",
			"arn:aws:apprunner:us-east-1:123456789012:observabilityconfiguration/DefaultConfiguration/1", "arn:aws:apprunner:eu-west-1:123456789012:service/a",
			"arn:aws:s3:::123456789012:x", "arn:aws:apprunner:us-east-1:123456789012:vpcconnector/x/1/2/3",
		},
		"ImageIdentifier": {"public.ecr.aws/x/y:1", "123456789012.dkr.ecr.us-east-1.amazonaws.com/y", "210987654321.dkr.ecr.us-east-1.amazonaws.com/y", "nginx"},
		"RoleArn":         {"arn:aws:iam::123456789012:role/name"},
		"KmsKeyArn":       {"arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"},
		"Cpu":             {"256", "1024", "1 vCPU", "0.25 vCPU", "4096"},
		"Memory":          {"512", "2048", "2 GB", "12 GB"},
		"String":          {"8080", "main", "https://example.com/r.git", "", "0", "\u0000"},
		"UUID":            {"01234567-89ab-4def-8123-456789abcdef"},
	}[s.Name]
	if samples != nil {
		return samples[g.IntN(len(samples))]
	}
	n := 4 + g.IntN(20)
	if s.Max != nil {
		n = min(n, *s.Max)
	}
	var b strings.Builder
	for range n {
		b.WriteByte("abcdefghijklmnopqrstuvwxyz0123456789-"[g.IntN(37)])
	}
	return "a" + b.String()[1:]
}

// wrong returns JSON that fits hardly anywhere.
func (g *generator) wrong() string {
	return []string{
		"null", "true", "0", "-1", "1.5", "1e9", "99999999999999999999", `""`, `"\u0000"`, `"aws:x"`, `"` + strings.Repeat("ä", 300) + `"`,
		`"` + strings.Repeat("x", 60000) + `"`, `"\ud800"`, `"a\nb"`, "[]", "{}", `[null]`, `{"":""}`, `{"a":{"b":[1,2,3]}}`, "nul", "", `"`, "\x00", "\xff",
		strings.Repeat("[", 70), `{"Key":"k","Key":"k"}`, `[{"Key":"apron:x"}]`, `"PORT"`, `"arn:aws:apprunner:::service"`,
	}[g.IntN(29)]
}
