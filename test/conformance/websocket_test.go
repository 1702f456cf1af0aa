package conformance

import (
	"bufio"
	"context"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"lambent.dev/lambent/test/harness"
)

// script is what a client says, and what it must hear. The names and groups are
// those of the Autobahn test suite.
type script struct {
	name  string
	say   []frame
	chop  int      // bytes of each write; 0 is all at once
	hears []string // nil is the message that the frames make
}

const (
	protocolError = "close 1002"
	notUTF8       = "close 1007"
)

func text(s string) frame  { return frame{op: opText, payload: s} }
func bytes(s string) frame { return frame{op: opBinary, payload: s} }

// parts is a message in frames of n bytes.
func parts(op byte, message string, n int) (out []frame) {
	for begin := 0; begin < len(message); begin += n {
		end := min(begin+n, len(message))
		out = append(out, frame{op: op, more: end < len(message), payload: message[begin:end]})
		op = opContinue
	}
	return out
}

// refused is what an application says to a breach, whatever came before.
func refused(name, how string, say ...frame) script {
	return script{name: name, say: say, hears: []string{how, "end"}}
}

// echoed is a script whose message comes back; the client then closes.
func echoed(name string, say ...frame) script { return script{name: name, say: say} }

func scripts() (all []script) {
	add := func(s ...script) { all = append(all, s...) }
	for _, n := range []int{0, 1, 125, 126, 127, 128, 65535, 65536} {
		add(echoed(fmt.Sprintf("1.1 text of %d", n), text(strings.Repeat("*", n))), echoed(fmt.Sprintf("1.2 binary of %d", n), bytes(strings.Repeat("\xfe", n))))
	}
	add(script{name: "1.1.8 text in small writes", say: []frame{text(strings.Repeat("*", 5000))}, chop: 997})

	add(
		script{name: "2.1 ping", say: []frame{{op: opPing}}, hears: []string{"pong of 0"}},
		script{name: "2.4 ping of 125", say: []frame{{op: opPing, payload: strings.Repeat("\xfe", 125)}}, hears: []string{"pong of 125"}},
		refused("2.5 ping of 126", protocolError, frame{op: opPing, payload: strings.Repeat("\xfe", 126)}),
		script{name: "2.6 ping in single bytes", say: []frame{{op: opPing, payload: strings.Repeat("\xfe", 125)}}, chop: 1, hears: []string{"pong of 125"}},
		script{name: "2.7 pong that nobody asked for", say: []frame{{op: opPong, payload: "unsolicited"}}, hears: []string{}},
		script{name: "2.10 ten pings", say: slices.Repeat([]frame{{op: opPing, payload: "p"}}, 10), hears: slices.Repeat([]string{"pong of 1"}, 10)},
	)
	for rsv := byte(1); rsv <= 7; rsv++ { // none was agreed on
		add(refused(fmt.Sprintf("3.%d reserved bits", rsv), protocolError, frame{op: opText, rsv: rsv, payload: "x"}))
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		add(refused(fmt.Sprintf("4 opcode %d", op), protocolError, frame{op: op, payload: "x"}))
	}
	add(
		refused("5.1 ping in two frames", protocolError, frame{op: opPing, more: true, payload: "a"}, frame{op: opContinue, payload: "b"}),
		echoed("5.3 text in two frames", parts(opText, "fragment1fragment2", 9)...),
		script{name: "5.6 ping between frames", say: []frame{{op: opText, more: true, payload: "a"}, {op: opPing, payload: "ping"}, {op: opContinue, payload: "b"}},
			hears: []string{"pong of 4", "text of 2, 9e83486d"}},
		refused("5.9 continuation of nothing", protocolError, frame{op: opContinue, payload: "x"}),
		refused("5.15 text within a message", protocolError, frame{op: opText, more: true, payload: "a"}, text("b")),
		echoed("5.19 text in five frames, in small writes", parts(opText, "fragment1fragment2fragment3fragment4fragment5", 9)...),
	)
	const greek = "κόσμε"
	add(
		echoed("6.2 UTF-8", text("Hello-µ@ßöäüàá-UTF-8!!")),
		echoed("6.2.3 UTF-8 cut within letters", parts(opText, "Hello-µ@ßöäüàá-UTF-8!!", 1)...),
		refused("6.3 invalid UTF-8", notUTF8, text(greek+"\xed\xa0\x80edited")),
		refused("6.4 invalid UTF-8 in the second frame", notUTF8, frame{op: opText, more: true, payload: greek}, frame{op: opContinue, payload: "\xf4\x90\x80\x80"}),
		refused("6.10 overlong", notUTF8, text("\xc0\xaf")),
	)
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999} {
		add(script{name: fmt.Sprintf("7.7 close %d", code), say: []frame{{op: opClose, payload: closing(code, "why")}}, hears: []string{fmt.Sprint("close ", code), "end"}})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65535} {
		add(refused(fmt.Sprintf("7.9 close %d", code), protocolError, frame{op: opClose, payload: closing(code, "")}))
	}
	add(
		script{name: "7.3.1 close without a code", say: []frame{{op: opClose}}, hears: []string{"close no code", "end"}},
		refused("7.3.2 close of one byte", protocolError, frame{op: opClose, payload: "x"}),
		script{name: "7.3.5 close with 123 bytes of reason", say: []frame{{op: opClose, payload: closing(1000, strings.Repeat("*", 123))}}, hears: []string{"close 1000", "end"}},
		refused("7.3.6 close with 124 bytes of reason", protocolError, frame{op: opClose, payload: closing(1000, strings.Repeat("*", 124))}),
		script{name: "7.1.3 ping after close", say: []frame{{op: opClose, payload: closing(1000, "")}, {op: opPing}}, hears: []string{"close 1000", "end"}},
		script{name: "7.1.5 close within a message", say: []frame{{op: opText, more: true, payload: "a"}, {op: opClose, payload: closing(1000, "")}}, hears: []string{"close 1000", "end"}},
	)
	for _, size := range []int{64 << 10, 1 << 20, 16 << 20} {
		message := strings.Repeat("0123456789abcdef", size/16)
		add(echoed(fmt.Sprintf("9.1 text of %d", size), text(message)), echoed(fmt.Sprintf("9.4 binary of %d in frames of 64 KB", size), parts(opBinary, message, 64<<10)...))
	}
	add(script{name: "9.5 1 MB in writes of 256 bytes", say: []frame{text(strings.Repeat("x", 1<<20))}, chop: 256},
		echoed("9.3 256 KB in frames of 64 bytes", parts(opText, strings.Repeat("y", 256<<10), 64)...))
	return all
}

// play says a script to an address and gives what is heard.
func play(t *testing.T, address string, s script) []string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in, err := open(c)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan []string, 1)
	go func(in *bufio.Reader) { // waited for below
		heard <- hear(in, func() {
			if s.isClosed() {
				_, _ = c.Write(frame{op: opClose, payload: closing(1000, "")}.bytes()) // who breaks off does not wait for it
			}
		})
	}(in)
	var out []byte
	for _, f := range s.say {
		out = append(out, f.bytes()...)
	}
	if !slices.Contains(s.hears, "end") {
		out = append(out, frame{op: opClose, payload: closing(1000, "")}.bytes()...)
	}
	step := len(out)
	if s.chop > 0 {
		step = s.chop
	}
	for part := range slices.Chunk(out, step) {
		if _, err := c.Write(part); err != nil {
			break // the other side may have heard enough
		}
	}
	return <-heard
}

// isClosed tells whether the other side closes first, which a client has to answer
// (RFC 6455, section 5.5.1).
func (s script) isClosed() bool {
	return slices.Contains(s.hears, "end") && !slices.ContainsFunc(s.say, func(f frame) bool { return f.op == opClose })
}

// expected is what a script's client must hear.
func (s script) expected() []string {
	if slices.Contains(s.hears, "end") {
		return s.hears
	}
	heard := slices.Clone(s.hears)
	if s.hears == nil {
		var message strings.Builder
		for _, f := range s.say {
			message.WriteString(f.payload)
		}
		heard = []string{heardMessage(s.say[0].op, message.Len(), crc32.ChecksumIEEE([]byte(message.String())))}
	}
	return append(heard, "close 1000", "end")
}

// TestWebSocket plays WebSocket cases to an application, through the gateway and
// alone: what a client hears must be right, and the same.
func TestWebSocket(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	deployEcho(t, s)
	alone := start(t, echo.Path(t))
	run(t, s, "route", "add", "/*", "echo", "--public")
	gateway := strings.TrimPrefix(s.Gateway, "http://")
	for _, c := range scripts() {
		t.Run(c.name, func(t *testing.T) {
			by, direct := play(t, gateway, c), play(t, alone, c)
			if want := c.expected(); !slices.Equal(direct, want) {
				t.Errorf("the application alone says %q, want %q", direct, want)
			}
			if !slices.Equal(by, direct) {
				t.Errorf("by the gateway %q, alone %q", by, direct)
			}
		})
	}
	t.Run("12 compression", func(t *testing.T) { compressed(t, "ws://"+gateway) })
}

var echo = harness.GoProgram("test/conformance/echo")

// deployEcho deploys the application.
func deployEcho(t *testing.T, s *harness.Server) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "echo"), []byte(echo.Content(t)), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, s, "deploy", dir, "--name", "echo", "--command", "./echo", "--port", "8080")
}

// start runs the application on this host and gives its address.
func start(t *testing.T, binary string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Env = []string{"PORT=0"}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// compressed has a client and the application agree on permessage-deflate.
func compressed(t *testing.T, address string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, res, err := websocket.Dial(ctx, address, &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if !strings.Contains(res.Header.Get("Sec-Websocket-Extensions"), "permessage-deflate") {
		t.Errorf("not agreed on: %v", res.Header)
	}
	c.SetReadLimit(maxFrame)
	for _, n := range []int{16, 1 << 10, 64 << 10, 1 << 20} {
		message := strings.Repeat("compressed ", n/11+1)
		if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != message {
			t.Fatalf("%d bytes come back as %d (%v)", len(message), len(got), err)
		}
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
}
