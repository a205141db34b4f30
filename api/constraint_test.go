package api_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"apron/api"
)

// TestConstraints pins the text of constraint violations (reference: the form of AWS's front end).
func TestConstraints(t *testing.T) {
	long := strings.Repeat("x", 35)
	tests := map[string]struct{ action, body, want string }{
		"pattern and length": {
			"CreateAutoScalingConfiguration", `{"AutoScalingConfigurationName":"` + long + `"}`,
			"2 validation errors detected: Value '" + long + "' at 'autoScalingConfigurationName' failed to satisfy constraint: " +
				`Member must satisfy regular expression pattern: [A-Za-z0-9][A-Za-z0-9\-_]{3,31}; Value '` + long +
				"' at 'autoScalingConfigurationName' failed to satisfy constraint: Member must have length less than or equal to 32",
		},
		"missing":         {"DescribeService", `{}`, one("Value null at 'serviceArn'", "Member must not be null")},
		"no bytes":        {"DescribeService", ``, one("Value null at 'serviceArn'", "Member must not be null")},
		"null is absent":  {"DescribeService", `{"ServiceArn":null}`, one("Value null at 'serviceArn'", "Member must not be null")},
		"names have case": {"DescribeService", `{"serviceArn":"x"}`, one("Value null at 'serviceArn'", "Member must not be null")},
		"nested missing": {
			"CreateService", `{"ServiceName":"web-app","SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"nginx"}}}`,
			one("Value null at 'sourceConfiguration.imageRepository.imageRepositoryType'", "Member must not be null"),
		},
		"enum": {
			"CreateConnection", `{"ConnectionName":"abcd","ProviderType":"github"}`,
			one("Value 'github' at 'providerType'", "Member must satisfy enum value set: [GITHUB, BITBUCKET]"),
		},
		"integer too large":  {"ListServices", `{"MaxResults":21}`, one("Value '21' at 'maxResults'", "Member must have value less than or equal to 20")},
		"integer too small":  {"ListServices", `{"MaxResults":0}`, one("Value '0' at 'maxResults'", "Member must have value greater than or equal to 1")},
		"integer of a list":  {"CreateAutoScalingConfiguration", `{"AutoScalingConfigurationName":"abcd","MinSize":26,"MaxSize":9999}`, one("Value '26' at 'minSize'", "Member must have value less than or equal to 25")},
		"list of structures": {"TagResource", tagging(`{"Key":"a"},{"Key":"` + strings.Repeat("k", 129) + `"}`), one("Value '"+strings.Repeat("k", 129)+"' at 'tags.2.member.key'", "Member must have length less than or equal to 128")},
		"tag without key":    {"TagResource", tagging(`{"Value":"v"}`), one("Value null at 'tags.1.member.key'", "Member must not be null")},
		"tag of AWS":         {"TagResource", tagging(`{"Key":"aws:x"}`), one("Value 'aws:x' at 'tags.1.member.key'", "Member must satisfy regular expression pattern: ^(?!aws:).+")},
		"list of strings":    {"UntagResource", `{"ResourceArn":"` + missingARN + `","TagKeys":["a","` + strings.Repeat("k", 129) + `"]}`, one("Value '"+strings.Repeat("k", 129)+"' at 'tagKeys.2.member'", "Member must have length less than or equal to 128")},
		"characters, not bytes": {
			"TagResource", tagging(`{"Key":"a","Value":"` + strings.Repeat("é", 257) + `"}`),
			one("Value '"+strings.Repeat("é", 257)+"' at 'tags.1.member.value'", "Member must have length less than or equal to 256"),
		},
		"arn pattern": {
			"DescribeService", `{"ServiceArn":"arn:aws:apprunner:us-east-1:1:service/x"}`,
			one("Value 'arn:aws:apprunner:us-east-1:1:service/x' at 'serviceArn'", `Member must satisfy regular expression pattern: arn:aws(-[\w]+)*:[a-z0-9-\\.]{0,63}:[a-z0-9-\\.]{0,63}:[0-9]{12}:(\w|\/|-){1,1011}`),
		},
		"sensitive": {
			"CreateService", image(`"StartCommand":"a\nb"`),
			one("Value at 'sourceConfiguration.imageRepository.imageConfiguration.startCommand'", `Member must satisfy regular expression pattern: [^\x0a\x0d]+`),
		},
		"map key": {
			"CreateService", image(`"RuntimeEnvironmentVariables":{"":"x"}`),
			one("Value at 'sourceConfiguration.imageRepository.imageConfiguration.runtimeEnvironmentVariables'", "Map keys must satisfy constraint: [Member must have length greater than or equal to 1]"),
		},
		"map value": {
			"CreateService", image(`"RuntimeEnvironmentSecrets":{"A":""}`),
			one("Value at 'sourceConfiguration.imageRepository.imageConfiguration.runtimeEnvironmentSecrets'", "Map value must satisfy constraint: [Member must have length greater than or equal to 1]"),
		},
		"anchored": {
			"CreateVpcIngressConnection",
			`{"ServiceArn":"` + missingARN + `","VpcIngressConnectionName":"ok-name\n","IngressVpcConfiguration":{}}`,
			one("Value 'ok-name\n' at 'vpcIngressConnectionName'", `Member must satisfy regular expression pattern: [A-Za-z0-9][A-Za-z0-9\-_]{3,39}`),
		},
	}
	f := newFront(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := f.call(t, tt.action, tt.body)
			if p := problemOf(t, w); w.Code != 400 || p.Type != "InvalidRequestException" || p.Message != tt.want {
				t.Errorf("got %d %s\n%s\nwant\n%s", w.Code, p.Type, p.Message, tt.want)
			}
		})
	}
}

func one(value, constraint string) string {
	return "1 validation error detected: " + value + " failed to satisfy constraint: " + constraint
}

func tagging(tags string) string { return `{"ResourceArn":"` + missingARN + `","Tags":[` + tags + `]}` }

// image is a CreateService request with something inside ImageConfiguration.
func image(configuration string) string {
	return `{"ServiceName":"web-app","SourceConfiguration":{"ImageRepository":{"ImageIdentifier":"public.ecr.aws/x/y:1",
		"ImageRepositoryType":"ECR_PUBLIC","ImageConfiguration":{` + configuration + `}}}}`
}

// TestConstraintsClipped counts every finding but shows no more than a message may hold.
func TestConstraintsClipped(t *testing.T) {
	f := newFront(t)
	w := f.call(t, "TagResource", tagging(strings.TrimSuffix(strings.Repeat(`{"Key":"`+strings.Repeat("é", 200)+`"},`, 3000), ",")))
	p := problemOf(t, w)
	if n := utf8.RuneCountInString(p.Message); n != 600 || !strings.HasPrefix(p.Message, "3000 validation errors detected: Value 'é") {
		t.Errorf("%d characters: %s", n, p.Message)
	}
}

// TestSerialization has what is not the JSON it should be.
func TestSerialization(t *testing.T) {
	tests := map[string]struct{ action, body string }{
		"string for number":      {"ListServices", `{"MaxResults":"5"}`},
		"fraction":               {"ListServices", `{"MaxResults":5.0}`},
		"exponent":               {"ListServices", `{"MaxResults":1e1}`},
		"more than 32 bits":      {"ListServices", `{"MaxResults":2147483648}`},
		"more than 64 bits":      {"ListServices", `{"MaxResults":99999999999999999999}`},
		"leading zero":           {"ListServices", `{"MaxResults":05}`},
		"number for string":      {"DescribeService", `{"ServiceArn":5}`},
		"object for string":      {"DescribeService", `{"ServiceArn":{}}`},
		"string for boolean":     {"DeleteAutoScalingConfiguration", `{"DeleteAllRevisions":"true"}`},
		"object for list":        {"TagResource", `{"Tags":{}}`},
		"list for object":        {"CreateService", `{"SourceConfiguration":[]}`},
		"list for map":           {"CreateService", image(`"RuntimeEnvironmentVariables":[]`)},
		"number in map":          {"CreateService", image(`"RuntimeEnvironmentVariables":{"A":1}`)},
		"null in map":            {"CreateService", image(`"RuntimeEnvironmentVariables":{"A":null}`)},
		"null in list":           {"TagResource", tagging(`null`)},
		"duplicate":              {"ListServices", `{"MaxResults":5,"MaxResults":5}`},
		"duplicate after null":   {"ListServices", `{"MaxResults":null,"MaxResults":5}`},
		"duplicate by escape":    {"ListServices", `{"MaxResults":5,"\u004daxResults":5}`},
		"duplicate unknown":      {"ListServices", `{"x":5,"x":5}`},
		"duplicate deep unknown": {"ListServices", `{"x":[{"y":1,"y":1}]}`},
		"duplicate in map":       {"CreateService", image(`"RuntimeEnvironmentVariables":{"A":"1","A":"2"}`)},
		"duplicate of many":      {"ListServices", `{` + strings.Join(manyMembers(40), ",") + `,"m20":1}`},
		"too deep":               {"ListServices", `{"x":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}`},
		"invalid utf-8":          {"DescribeService", "{\"ServiceArn\":\"\xff\"}"},
		"invalid utf-8 name":     {"DescribeService", "{\"\xff\":1}"},
		"invalid utf-8 unknown":  {"DescribeService", "{\"x\":\"\xc3\x28\"}"},
		"lone surrogate":         {"DescribeService", `{"ServiceArn":"\ud800"}`},
		"swapped surrogates":     {"DescribeService", `{"ServiceArn":"\udc00\ud800"}`},
		"control character":      {"DescribeService", "{\"ServiceArn\":\"\x01\"}"},
		"unknown escape":         {"DescribeService", `{"ServiceArn":"\x41"}`},
		"short escape":           {"DescribeService", `{"ServiceArn":"\u12"}`},
		"trailing data":          {"ListServices", `{} {}`},
		"trailing comma":         {"ListServices", `{"MaxResults":5,}`},
		"trailing list comma":    {"ListServices", `{"x":[1,]}`},
		"no comma":               {"ListServices", `{"a":1 "b":2}`},
		"no colon":               {"ListServices", `{"a" 1}`},
		"unfinished":             {"ListServices", `{"a":1`},
		"unfinished string":      {"ListServices", `{"a":"`},
		"unfinished escape":      {"ListServices", `{"a":"\`},
		"single quotes":          {"ListServices", `{'a':1}`},
		"word":                   {"ListServices", `{"a":nul}`},
		"NaN":                    {"ListServices", `{"a":NaN}`},
		"plus sign":              {"ListServices", `{"a":+1}`},
		"bare point":             {"ListServices", `{"a":1.}`},
		"byte order mark":        {"ListServices", "\ufeff{}"},
		"NUL":                    {"ListServices", "{}\x00"},
		"space alone":            {"ListServices", " "},
		"null":                   {"ListServices", "null"},
	}
	f := newFront(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := f.call(t, tt.action, tt.body)
			if p := problemOf(t, w); w.Code != 400 || p.Type != "SerializationException" || p.Message == "" {
				t.Errorf("got %d %+v", w.Code, p)
			}
		})
	}
}

func manyMembers(n int) []string {
	var out []string
	for i := range n {
		out = append(out, `"m`+string(rune('0'+i/10))+string(rune('0'+i%10))+`":0`)
	}
	return out
}

// TestAccepted has what is unusual and right.
func TestAccepted(t *testing.T) {
	f := newFront(t)
	for _, body := range []string{
		"", "{}", " \t\r\n{ } \n", `{"MaxResults":null,"NextToken":null}`, `{"MaxResults" : 5 }`, `{"\u004daxResults":5}`,
		`{"unknown":{"a":[1.5e-3,-0,true,false,null,"\ud83d\ude00\n\/"],"b":{}}}`, `{"x":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`,
		`{` + strings.Join(manyMembers(40), ",") + `}`, `{"maxResults":"other case, other name"}`, `{"NextToken":""}`,
	} {
		if w := f.call(t, "ListServices", body); w.Code != 200 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}

func TestImageIdentifier(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for s, want := range map[string]bool{
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app:v1":       true,
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/team/app" + digest: true,
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app:odd/tag+x":     true, // AWS's pattern takes it
		"public.ecr.aws/alias/app:latest":                                true,
		"public.ecr.aws/UPPER/app":                                       true,
		"nginx":                                                          true,
		"library/nginx:1.27":                                             true,
		"127.0.0.1:4080/app:v1":                                          true,
		"[::1]:4080/app":                                                 true,
		"ghcr.io/org/app:v1" + digest:                                    true,
		"registry.example.com/a__b/c--d.e":                               true,
		"":                                                               false,
		"Nginx":                                                          false,
		"https://registry.example.com/app":                               false,
		"app:":                                                           false,
		"app: v1":                                                        false,
		"a//b":                                                           false,
		"app@sha256:abc":                                                 false,
		"registry.example.com/":                                          false,
		"app\n":                                                          false,
	} {
		if got := api.MatchImageIdentifier(s); got != want {
			t.Errorf("%q: got %v", s, got)
		}
	}
	f := newFront(t)
	w := f.call(t, "CreateService", strings.Replace(image(""), "public.ecr.aws/x/y:1", "No Reference", 1))
	if p := problemOf(t, w); !strings.Contains(p.Message, `at 'sourceConfiguration.imageRepository.imageIdentifier' failed to satisfy constraint: Member must satisfy regular expression pattern: ([0-9]{12}.dkr.ecr.`) {
		t.Errorf("got %s", p.Message)
	}
}
