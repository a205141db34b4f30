package builder

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the format's own checksum, which protects nothing
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"path"
	"strings"
	"unicode/utf16"
)

// finishJava does what update-alternatives and ca-certificates-java do: commands on the path, and a key
// store with the authorities the machine trusts.
func finishJava(t *tree, f *found) error {
	var errs errorList
	for _, name := range f.names {
		home, command, ok := strings.Cut(name, "/bin/")
		if !ok || !strings.HasPrefix(home, "usr/lib/jvm/") || command == "" || strings.Contains(command, "/") {
			continue
		}
		if command == "java" {
			errs.add(t.link("usr/lib/jvm/default-java", path.Base(home)))
		}
		errs.add(t.link("usr/bin/"+command, "/"+name))
	}
	errs.add(t.link("usr/bin/mvn", "/usr/share/maven/bin/mvn"))
	errs.add(t.link("usr/local/apache-maven", "/usr/share/maven")) // where App Runner's images have it
	errs.add(t.file("usr/local/bin/gradle", 0o755, []byte(gradleScript)))
	errs.add(t.file("etc/ssl/certs/java/cacerts", 0o644, keyStore(f.authorities)))
	return errs.err()
}

// gradleScript says what to do instead: the Gradle that Debian has is older than any Java that it has.
const gradleScript = `#!/bin/sh
echo "gradle: this base image has no Gradle: add a wrapper to the repository (gradle wrapper) and call ./gradlew," >&2
echo "gradle: or build with mvn, or from a Dockerfile (runtime: docker)." >&2
exit 127
`

// keyStore writes certificates as a Java key store of version 2 with the customary password, the one
// format every Java reads.
func keyStore(authorities []byte) []byte {
	var certs [][]byte
	for block, rest := pem.Decode(authorities); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			certs = append(certs, block.Bytes)
		}
	}
	var out bytes.Buffer
	number := func(n uint32) { out.Write(binary.BigEndian.AppendUint32(nil, n)) }
	text := func(s string) {
		out.Write(binary.BigEndian.AppendUint16(nil, uint16(len(s))))
		out.WriteString(s)
	}
	number(0xfeedfeed)
	number(2)
	number(uint32(len(certs)))
	for i, cert := range certs {
		number(2) // a trusted certificate
		text(fmt.Sprintf("authority-%d", i))
		out.Write(make([]byte, 8)) // when it was added: never, so that the same certificates give the same file
		text("X.509")
		number(uint32(len(cert)))
		out.Write(cert)
	}
	sum := sha1.New() //nolint:gosec // as above
	for _, c := range utf16.Encode([]rune("changeit")) {
		sum.Write(binary.BigEndian.AppendUint16(nil, c))
	}
	sum.Write([]byte("Mighty Aphrodite"))
	sum.Write(out.Bytes())
	return sum.Sum(out.Bytes())
}
