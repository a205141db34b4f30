package builder

import "regexp"

// cacheMounts returns where the package managers of a language keep what they download.
func cacheMounts(l language, command string) []cacheMount {
	switch l {
	case langNode:
		return []cacheMount{
			{kind: "npm", dir: "/root/.npm"},
			{kind: "yarn", dir: "/usr/local/share/.cache", alone: true},
			{kind: "pnpm", dir: "/root/.local/share/pnpm/store"},
		}
	case langPython:
		return []cacheMount{{kind: "pip", dir: "/root/.cache/pip"}}
	case langGo:
		compiled := cacheMount{kind: "go-build", dir: "/root/.cache/go-build", seed: goStandard}
		if startsWithTool.MatchString(command) {
			return []cacheMount{compiled}
		}
		return []cacheMount{{kind: "go-mod", dir: "/root/go/pkg/mod"}, compiled}
	case langJava:
		if startsWithTool.MatchString(command) {
			return nil
		}
		return []cacheMount{{kind: "maven", dir: "/root/.m2/repository"}, {kind: "gradle", dir: "/root/.gradle"}}
	case langRuby:
		// By itself Bundler keeps the gems' files where it installs them.
		return []cacheMount{{kind: "bundler", dir: "/root/.bundle/cache", env: Variable{"BUNDLE_GLOBAL_GEM_CACHE", "true"}}}
	case langPHP:
		// By itself Composer takes /root/.composer/cache in an image without /etc/xdg.
		return []cacheMount{{kind: "composer", dir: "/root/.cache/composer", env: Variable{"COMPOSER_CACHE_DIR", "/root/.cache/composer"}}}
	case langDotnet:
		return []cacheMount{{kind: "nuget", dir: "/root/.nuget/packages"}}
	default:
		return nil
	}
}

// goStandard compiles what every server needs of Go's standard library. The first build on a machine
// waits for it, no other does. Without it builds only take longer, so that it may fail.
const goStandard = "go build net/http encoding/json html/template database/sql os/signal || true"

// startsWithTool recognises start commands that need at run time what was downloaded for the build:
// then it belongs into the image and not into a cache.
var startsWithTool = regexp.MustCompile(`(^|[ /;&])(go (run|test)|mvn|mvnw|gradle|gradlew)( |$)`)
