package lambent.runtime;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/**
 * The Runtime API over one keep-alive connection. The JDK's HTTP clients would cost tens of
 * milliseconds of class loading at start.
 */
final class Client {
    private static final String API = "/2018-06-01/runtime";

    static final class Answer {
        int status;
        final Map<String, String> headers = new HashMap<>();
        byte[] body;
    }

    private final String host;
    private final int port;
    private final String common;
    private Socket socket;
    private OutputStream out;
    private InputStream in;
    private final byte[] buffer = new byte[16384];
    private int at;
    private int end;

    Client(String address) {
        int colon = address.lastIndexOf(':');
        host = address.substring(0, colon);
        port = Integer.parseInt(address.substring(colon + 1));
        common = "Host: " + address + "\r\nUser-Agent: lambent-java/" + System.getProperty("java.version") + "\r\n";
    }

    /** A client that is connected already. */
    Client(String address, InputStream in, OutputStream out) {
        this(address);
        this.in = in;
        this.out = out;
        socket = new Socket();
    }

    Answer next() throws IOException {
        Answer a = roundTrip("GET " + API + "/invocation/next HTTP/1.1\r\n" + common + "\r\n", null);
        if (a.status != 200) {
            throw new IOException("the Runtime API answered " + a.status + " to next");
        }
        return a;
    }

    /** Posts body. 410 (the invocation has ended) and 413 (too large) are in order: the caller knows. */
    void post(String path, String headers, byte[] body) throws IOException {
        String head = "POST " + API + path + " HTTP/1.1\r\n" + common + headers
                + "Content-Length: " + body.length + "\r\n\r\n";
        Answer a = roundTrip(head, body);
        if (a.status != 202 && a.status != 410 && a.status != 413) {
            throw new IOException("the Runtime API answered " + a.status + " to " + path + ": "
                    + new String(a.body, StandardCharsets.UTF_8));
        }
    }

    /** A value that cannot break out of its header line. */
    static String header(String name, String value) {
        StringBuilder b = new StringBuilder(name).append(": ");
        for (int i = 0; i < value.length() && i < 256; i++) {
            char c = value.charAt(i);
            b.append(c >= ' ' && c < 127 ? c : ' ');
        }
        return b.append("\r\n").toString();
    }

    private Answer roundTrip(String head, byte[] body) throws IOException {
        boolean fresh = socket == null;
        while (true) {
            try {
                if (socket == null) {
                    connect();
                }
                send(head.getBytes(StandardCharsets.ISO_8859_1), body);
                fill();
                break;
            } catch (IOException e) {
                // A connection that went stale while the sandbox was frozen shows before the
                // first byte of the answer; one more try is then safe.
                close();
                if (fresh) {
                    throw e;
                }
                fresh = true;
            }
        }
        return read();
    }

    private void connect() throws IOException {
        Socket s = new Socket();
        s.setTcpNoDelay(true);
        s.connect(new InetSocketAddress(host, port));
        socket = s;
        out = s.getOutputStream();
        in = s.getInputStream();
        at = 0;
        end = 0;
    }

    private void close() {
        if (socket != null) {
            try {
                socket.close();
            } catch (IOException e) {
                // nothing is left to do with it
            }
            socket = null;
        }
    }

    private void send(byte[] head, byte[] body) throws IOException {
        if (body == null) {
            out.write(head);
        } else if (body.length < 16384) {
            byte[] both = new byte[head.length + body.length];
            System.arraycopy(head, 0, both, 0, head.length);
            System.arraycopy(body, 0, both, head.length, body.length);
            out.write(both);
        } else {
            out.write(head);
            out.write(body);
        }
    }

    private void fill() throws IOException {
        int n = in.read(buffer, 0, buffer.length);
        if (n < 0) {
            throw new EOFException("the Runtime API closed the connection");
        }
        at = 0;
        end = n;
    }

    private String line() throws IOException {
        StringBuilder b = new StringBuilder(64);
        while (true) {
            if (at == end) {
                fill();
            }
            char c = (char) (buffer[at++] & 0xff);
            if (c == '\n') {
                int n = b.length();
                if (n > 0 && b.charAt(n - 1) == '\r') {
                    b.setLength(n - 1);
                }
                return b.toString();
            }
            b.append(c);
        }
    }

    private byte[] exactly(int size) throws IOException {
        byte[] body = new byte[size];
        int have = Math.min(size, end - at);
        System.arraycopy(buffer, at, body, 0, have);
        at += have;
        while (have < size) {
            int n = in.read(body, have, size - have);
            if (n < 0) {
                throw new EOFException("the Runtime API closed the connection");
            }
            have += n;
        }
        return body;
    }

    private Answer read() throws IOException {
        Answer a = new Answer();
        a.status = Integer.parseInt(line().substring(9, 12));
        for (String l = line(); !l.isEmpty(); l = line()) {
            int colon = l.indexOf(':');
            a.headers.put(l.substring(0, colon).toLowerCase(Locale.ROOT), l.substring(colon + 1).trim());
        }
        String length = a.headers.get("content-length");
        if (length != null) {
            a.body = exactly(Integer.parseInt(length));
        } else if ("chunked".equals(a.headers.get("transfer-encoding"))) {
            a.body = chunks();
        } else {
            a.body = new byte[0];
        }
        if ("close".equals(a.headers.get("connection"))) {
            close();
        }
        return a;
    }

    private byte[] chunks() throws IOException {
        java.io.ByteArrayOutputStream all = new java.io.ByteArrayOutputStream();
        while (true) {
            String l = line();
            int semicolon = l.indexOf(';');
            int size = Integer.parseInt(semicolon < 0 ? l : l.substring(0, semicolon), 16);
            if (size == 0) {
                break;
            }
            all.write(exactly(size));
            line();
        }
        while (!line().isEmpty()) {
            // trailers
        }
        return all.toByteArray();
    }
}
