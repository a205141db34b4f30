package api_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
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

// TestRandomRequests sends every action requests that are nearly right, from a fixed seed. Each must
// be answered with success or with an error of the action's set, and leave behind what can be read.
//
// By default it sends few. To send 10,000 per action, in some two minutes:
//
//	go test ./api -run TestRandomRequests -timeout 1h -args -requests 10000
func TestRandomRequests(t *testing.T) {
	m := loadModel(t)
	if len(m.Actions) != 37 {
		t.Fatalf("%d actions", len(m.Actions))
	}
	for _, a := range m.Actions {
		t.Run(a.Name, func(t *testing.T) {
			f := newFront(t)
			g := &generator{Rand: rand.New(rand.NewPCG(*randomSeed, uint64(len(a.Name)))), model: m, arns: f.populate(t)}
			codes := map[string]int{}
			for n := range *randomRequests {
				body := g.body(a.Input)
				w := f.call(t, a.Name, body)
				if w.Code == http.StatusOK {
					codes["success"]++
					f.carryOn(t, a.Name, body, w.Body.Bytes(), n)
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
			f.consistent(t)
		})
	}
}

// populate makes one resource of each type, and returns their ARNs.
func (f *front) populate(t *testing.T) []string {
	service := f.running(t, "web-app", private)
	connection := f.ok(t, "CreateConnection", `{"ConnectionName":"conn-a","ProviderType":"GITHUB"}`).text("Connection.ConnectionArn")
	f.handshake(t, "conn-a")
	return []string{
		service, service, f.running(t, "web-code", codeSource(fromAPI)), connection,
		f.ok(t, "CreateAutoScalingConfiguration", `{"AutoScalingConfigurationName":"high"}`).text("AutoScalingConfiguration.AutoScalingConfigurationArn"),
		f.ok(t, "CreateObservabilityConfiguration", `{"ObservabilityConfigurationName":"high"}`).text("ObservabilityConfiguration.ObservabilityConfigurationArn"),
		f.ok(t, "CreateVpcConnector", `{"VpcConnectorName":"connector","Subnets":["subnet-1"]}`).text("VpcConnector.VpcConnectorArn"),
		f.ok(t, "CreateVpcIngressConnection", serviceARN(service, `"VpcIngressConnectionName":"ingress",
			"IngressVpcConfiguration":{"VpcId":"vpc-1","VpcEndpointId":"vpce-1"}`)).text("VpcIngressConnection.VpcIngressConnectionArn"),
		"arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/high",
	}
}

// carryOn has what a request began come to its end, so that not all later ones meet a busy service.
func (f *front) carryOn(t *testing.T, action, body string, answer []byte, n int) {
	if !json.Valid(answer) {
		t.Fatalf("%s: %s", body, answer)
	}
	if status, ok := settled()[action]; ok && strings.Contains(string(answer), `"OperationId"`) {
		f.settle(t, operatedService(t, []byte(body), answer), status)
	}
	if n%50 == 0 {
		f.advance(time.Minute)
		f.walk(t)
		f.log.Reset()
	}
}

// consistent reads everything there is. A service has at most one operation that has not ended, and
// only while it is in progress.
func (f *front) consistent(t *testing.T) {
	for _, action := range []string{
		"ListConnections", "ListVpcConnectors", "ListVpcIngressConnections", "ListAutoScalingConfigurations", "ListObservabilityConfigurations",
	} {
		f.ok(t, action, "{}")
	}
	list := f.ok(t, "ListServices", "{}")
	for i := range list.list("ServiceSummaryList") {
		arn := list.text(fmt.Sprintf("ServiceSummaryList.%d.ServiceArn", i))
		f.ok(t, "DescribeService", serviceARN(arn))
		operations := f.ok(t, "ListOperations", serviceARN(arn))
		open := 0
		for j := range operations.list("OperationSummaryList") {
			if operations.at(fmt.Sprintf("OperationSummaryList.%d.EndedAt", j)) == nil {
				open++
			}
		}
		if busy := list.at(fmt.Sprintf("ServiceSummaryList.%d.Status", i)) == "OPERATION_IN_PROGRESS"; open > 1 || busy != (open == 1) {
			t.Errorf("%s has %d open operations", arn, open)
		}
	}
}

// generator makes requests out of the model, with a mistake here and there.
type generator struct {
	*rand.Rand
	model *apiModel
	arns  []string // of resources that are there
	slips float64  // how likely a value is wrong
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
			items = append(items, fmt.Sprintf("%q:%s", mb.Name, g.member(mb.Name, mb.Shape)))
		}
	}
	if g.Float64() < g.slips {
		items = append(items, `"Unknown":`+g.wrong())
	}
	g.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	return "{" + strings.Join(items, ",") + "}"
}

// member returns the value of a structure's member, mostly one that can be meant by its name.
func (g *generator) member(name, shape string) string {
	if known := map[string]string{
		"RepositoryUrl": `"https://example.com/r.git"`, "VpcId": `"vpc-1"`, "VpcEndpointId": `"vpce-1"`, "Subnets": `["subnet-1","subnet-2"]`, "SecurityGroups": `["sg-1"]`,
	}[name]; known != "" && g.Float64() < 0.8-g.slips {
		return known
	}
	kind := strings.ToLower(strings.TrimSuffix(name, "Arn"))
	if shape == "AppRunnerResourceArn" && g.Float64() < 0.8-g.slips {
		for _, i := range g.Perm(len(g.arns)) {
			if strings.Contains(g.arns[i], ":"+kind+"/") {
				return strconv.Quote(g.arns[i])
			}
		}
	}
	return g.value(g.model.byName[shape])
}

func (g *generator) text(s *modelShape) string {
	if len(s.Enum) > 0 {
		return s.Enum[g.IntN(len(s.Enum))]
	}
	samples := map[string][]string{
		"AppRunnerResourceArn": append([]string{
			missingARN, "arn:aws:apprunner:us-east-1:123456789012:autoscalingconfiguration/DefaultConfiguration",
			"arn:aws:apprunner:us-east-1:123456789012:observabilityconfiguration/DefaultConfiguration/1", "arn:aws:apprunner:eu-west-1:123456789012:service/a",
			"arn:aws:s3:::123456789012:x", "arn:aws:apprunner:us-east-1:123456789012:vpcconnector/x/1/2/3",
		}, append(g.arns, g.arns...)...),
		"DomainName":      {"shop.test", "*.shop.test", "www.shop.test", "example.com", "SHOP.TEST", "10.0.0.1", "a..b"},
		"ImageIdentifier": {"public.ecr.aws/x/y:1", "123456789012.dkr.ecr.us-east-1.amazonaws.com/y", "210987654321.dkr.ecr.us-east-1.amazonaws.com/y", "nginx"},
		"RoleArn":         {"arn:aws:iam::123456789012:role/name"},
		"KmsKeyArn":       {"arn:aws:kms:us-east-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"},
		"Cpu":             {"256", "1024", "1 vCPU", "0.25 vCPU", "4096"},
		"Memory":          {"512", "2048", "2 GB", "12 GB"},
		"String":          {"8080", "main", "https://example.com/r.git", "vpc-1", "vpce-1", "subnet-1", "sg-1", "", "0", "\u0000"},
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
