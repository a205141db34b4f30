// Command app is the application in the images of this package's tests. Its first argument says what
// it does; what it answers over HTTP lets a test look at an instance from the inside.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const lastWords = "last words"

func main() {
	mode := "serve"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	if mode != "copy" && mode != "terminal" {
		fmt.Println("hello")
	}
	switch mode {
	case "nothing": // but say hello
	case "exit":
		fmt.Fprintln(os.Stderr, lastWords)
		os.Exit(7)
	case "silent":
		select {}
	case "copy": // standard input to standard output, and the rest of the arguments to standard error
		fmt.Fprint(os.Stderr, strings.Join(os.Args[2:], " "), os.Getenv("GREETING"))
		_, _ = io.Copy(os.Stdout, os.Stdin)
		os.Exit(5)
	case "terminal": // says how large it is, then at every change, until the line "exit"
		terminal()
	case "errors": // says everything else on standard error
		_ = os.Stdout.Close()
		os.Stdout = os.Stderr
		serve()
	case "stubborn": // handles SIGTERM by going on
		signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM)
		serve()
	case "polite": // takes its time, but handles SIGTERM
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		go serve()
		<-c
		fmt.Println("goodbye")
	default:
		serve()
	}
}

func terminal() {
	say := func() {
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Printf("%dx%d\n", size.Col, size.Row)
	}
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	say()
	go func() {
		for range changed {
			say()
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() && lines.Text() != "exit" {
	}
}

// held is memory that /burn makes the process hold.
var held []byte

// touched returns memory that is really there.
func touched(n int) []byte {
	b := make([]byte, n)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	return b
}

// processorTime returns how much of the processor this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func number(r *http.Request, name string) int {
	n, _ := strconv.Atoi(r.URL.Query().Get(name))
	return n
}

func serve() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	http.HandleFunc("/crash", func(http.ResponseWriter, *http.Request) {
		fmt.Println(lastWords)
		os.Exit(3)
	})
	http.HandleFunc("/file", func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(r.URL.Query().Get("path"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(b)
	})
	http.HandleFunc("/attack", handleAttack)
	http.HandleFunc("/fill", func(w http.ResponseWriter, r *http.Request) {
		if err := os.WriteFile(r.URL.Query().Get("path"), make([]byte, number(r, "mib")<<20), 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	http.HandleFunc("/say", func(_ http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(os.Stdout, r.URL.Query().Get("out"))
		fmt.Fprintln(os.Stderr, r.URL.Query().Get("err"))
	})
	http.HandleFunc("/chat", func(_ http.ResponseWriter, r *http.Request) {
		block := []byte(strings.Repeat(strings.Repeat("chat", 25)+"\n", 10_000))
		for left := number(r, "mib") << 20; left > 0; left -= len(block) {
			_, _ = os.Stdout.Write(block)
		}
	})
	http.HandleFunc("/burn", func(_ http.ResponseWriter, r *http.Request) {
		held = touched(number(r, "mib") << 20)
		for until := processorTime() + time.Duration(number(r, "ms"))*time.Millisecond; processorTime() < until; {
		}
	})
	http.HandleFunc("/owner", func(w http.ResponseWriter, r *http.Request) {
		var st syscall.Stat_t
		if err := syscall.Stat(r.URL.Query().Get("path"), &st); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, "%d:%d", st.Uid, st.Gid)
	})
	http.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, os.Getenv(r.URL.Query().Get("name")))
	})
	http.HandleFunc("/write", func(w http.ResponseWriter, r *http.Request) {
		if err := os.WriteFile(r.URL.Query().Get("path"), []byte("x"), 0o600); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	http.HandleFunc("/dial", func(w http.ResponseWriter, r *http.Request) {
		conn, err := net.DialTimeout("tcp", r.URL.Query().Get("addr"), time.Second)
		if err != nil {
			fmt.Fprint(w, "error: "+err.Error())
			return
		}
		_ = conn.Close()
		fmt.Fprint(w, "connected")
	})
	http.HandleFunc("/eat", func(w http.ResponseWriter, _ *http.Request) {
		var all [][]byte
		for {
			all = append(all, touched(16<<20))
			_, _ = io.WriteString(w, fmt.Sprint(len(all)))
		}
	})
	if err := http.ListenAndServe(":"+os.Getenv("PORT"), nil); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
