package lambent.runtime;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON text (RFC 8259) to a tree of Map, List, String, Number, Boolean and null. */
final class Json {
    /** How deep values may be nested: the parser recurses. */
    private static final int MAX_DEPTH = 1000;

    static final class SyntaxException extends RuntimeException {
        private static final long serialVersionUID = 1L;

        SyntaxException(String message) {
            super(message, null, false, false); // the parser's own frames help nobody
        }
    }

    private final String s;
    private int at;
    private int depth;

    private Json(String s) {
        this.s = s;
    }

    static Object parse(String text) {
        Json p = new Json(text);
        p.space();
        Object v = p.value();
        p.space();
        if (p.at < text.length()) {
            throw p.error("unexpected text after the value");
        }
        return v;
    }

    private SyntaxException error(String what) {
        return new SyntaxException(what + " at position " + at);
    }

    private void space() {
        while (at < s.length()) {
            char c = s.charAt(at);
            if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
                return;
            }
            at++;
        }
    }

    private Object value() {
        if (at >= s.length()) {
            throw error("unexpected end");
        }
        switch (s.charAt(at)) {
            case '{':
                return object();
            case '[':
                return array();
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Object word(String word, Object v) {
        if (!s.startsWith(word, at)) {
            throw error("unexpected character");
        }
        at += word.length();
        return v;
    }

    private Map<String, Object> object() {
        enter();
        Map<String, Object> m = new LinkedHashMap<>();
        if (peek() == '}') {
            at++;
            depth--;
            return m;
        }
        while (true) {
            if (peek() != '"') {
                throw error("expected a name");
            }
            String name = string();
            if (peek() != ':') {
                throw error("expected a colon");
            }
            at++;
            space();
            m.put(name, value());
            char c = peek();
            at++;
            if (c == '}') {
                depth--;
                return m;
            }
            if (c != ',') {
                throw error("expected a comma or the end of the object");
            }
        }
    }

    private List<Object> array() {
        enter();
        List<Object> l = new ArrayList<>();
        if (peek() == ']') {
            at++;
            depth--;
            return l;
        }
        while (true) {
            space();
            l.add(value());
            char c = peek();
            at++;
            if (c == ']') {
                depth--;
                return l;
            }
            if (c != ',') {
                throw error("expected a comma or the end of the array");
            }
        }
    }

    private void enter() {
        at++;
        if (++depth > MAX_DEPTH) {
            throw error("nested too deeply");
        }
    }

    private char peek() {
        space();
        if (at >= s.length()) {
            throw error("unexpected end");
        }
        return s.charAt(at);
    }

    private String string() {
        int start = ++at;
        while (at < s.length()) {
            char c = s.charAt(at);
            if (c == '"') {
                return s.substring(start, at++);
            }
            if (c == '\\') {
                return escaped(start);
            }
            if (c < ' ') {
                throw error("control character in a string");
            }
            at++;
        }
        throw error("unterminated string");
    }

    private String escaped(int start) {
        StringBuilder b = new StringBuilder(s.substring(start, at));
        while (at < s.length()) {
            char c = s.charAt(at++);
            if (c == '"') {
                return b.toString();
            }
            if (c < ' ') {
                throw error("control character in a string");
            }
            if (c != '\\') {
                b.append(c);
                continue;
            }
            if (at >= s.length()) {
                break;
            }
            c = s.charAt(at++);
            int i = "\"\\/bfnrt".indexOf(c);
            if (i >= 0) {
                b.append("\"\\/\b\f\n\r\t".charAt(i));
            } else if (c == 'u' && at + 4 <= s.length()) {
                b.append(hex());
            } else {
                throw error("bad escape");
            }
        }
        throw error("unterminated string");
    }

    private char hex() {
        int v = 0;
        for (int i = 0; i < 4; i++) {
            int d = Character.digit(s.charAt(at++), 16);
            if (d < 0) {
                throw error("bad escape");
            }
            v = v << 4 | d;
        }
        return (char) v;
    }

    private Object number() {
        int start = at;
        boolean whole = true;
        while (at < s.length()) {
            char c = s.charAt(at);
            if (c == '.' || c == 'e' || c == 'E') {
                whole = false;
            } else if (c != '-' && c != '+' && (c < '0' || c > '9')) {
                break;
            }
            at++;
        }
        String text = s.substring(start, at);
        try {
            if (!whole) {
                double d = Double.parseDouble(text);
                return Double.isInfinite(d) ? (Object) new BigDecimal(text) : (Object) d;
            }
            if (text.startsWith("+")) {
                throw new NumberFormatException(text);
            }
            if (text.length() < 19) {
                long l = Long.parseLong(text);
                return l == (int) l ? (Object) (int) l : (Object) l;
            }
            BigInteger b = new BigInteger(text);
            return b.bitLength() < 64 ? (Object) b.longValue() : (Object) b;
        } catch (NumberFormatException e) {
            at = start;
            throw error("unexpected character");
        }
    }

    /** Appends a string literal. */
    static void quote(StringBuilder b, String text) {
        b.append('"');
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                b.append('\\').append(c);
            } else if (c == '\n') {
                b.append("\\n");
            } else if (c == '\r') {
                b.append("\\r");
            } else if (c == '\t') {
                b.append("\\t");
            } else if (c < ' ' || Character.isSurrogate(c) && lone(text, i)) {
                b.append("\\u").append(Integer.toHexString(0x10000 | c).substring(1));
            } else {
                b.append(c);
            }
        }
        b.append('"');
    }

    /** Half a surrogate pair has no UTF-8 form. */
    private static boolean lone(String text, int i) {
        if (Character.isHighSurrogate(text.charAt(i))) {
            return i + 1 == text.length() || !Character.isLowSurrogate(text.charAt(i + 1));
        }
        return i == 0 || !Character.isHighSurrogate(text.charAt(i - 1));
    }
}
