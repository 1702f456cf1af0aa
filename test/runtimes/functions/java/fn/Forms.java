package fn;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.time.Instant;
import java.util.List;
import java.util.Map;

/** The forms that a handler may have, and the types that it may declare. */
public class Forms {
    /** A bean, with what an event may hold. */
    public static class Order {
        private String id;
        private int count;
        private boolean paid;
        private List<Item> items;
        private Map<String, Double> prices;
        private Instant when;
        public Colour colour;

        public String getId() { return id; }
        public void setId(String id) { this.id = id; }
        public int getCount() { return count; }
        public void setCount(int count) { this.count = count; }
        public boolean isPaid() { return paid; }
        public void setPaid(boolean paid) { this.paid = paid; }
        public List<Item> getItems() { return items; }
        public void setItems(List<Item> items) { this.items = items; }
        public Map<String, Double> getPrices() { return prices; }
        public void setPrices(Map<String, Double> prices) { this.prices = prices; }
        public Instant getWhen() { return when; }
        public void setWhen(Instant when) { this.when = when; }
    }

    public record Item(String name, long[] sizes) {}

    public enum Colour { RED, GREEN }

    public static class Pojo implements RequestHandler<Order, Order> {
        @Override
        public Order handleRequest(Order in, Context context) {
            in.setCount(in.getCount() + in.getItems().size());
            return in;
        }
    }

    /** Immutable: no setters, no constructor without arguments, private fields. */
    public static class Fixed {
        private final String name;
        private final java.util.Date at;

        public Fixed(String name, java.util.Date at) {
            this.name = name;
            this.at = at;
        }

        public String getName() { return name; }
        public java.util.Date getAt() { return at; }
    }

    public Fixed fixed(Fixed in) {
        return in;
    }

    abstract static class Base<T> implements RequestHandler<T, String> {
        @Override
        public String handleRequest(T in, Context context) {
            return in.getClass().getSimpleName();
        }
    }

    public static class Inherited extends Base<Item> {}

    public static class Text implements RequestHandler<String, String> {
        @Override
        public String handleRequest(String in, Context context) {
            return in.toUpperCase(java.util.Locale.ROOT);
        }
    }

    public static class Streams implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context context) throws IOException {
            in.transferTo(out);
        }
    }

    public int length(List<Integer> in) {
        return in.size();
    }

    public static String shout(String in, Context context) {
        return in + "! " + context.getFunctionName();
    }

    public void streams(InputStream in, OutputStream out) throws IOException {
        out.write('[');
        in.transferTo(out);
        out.write(']');
    }

    public String nothing() {
        return "nothing needed";
    }

    public static class BrokenStatic {
        static final int VALUE = Integer.parseInt("broken at start");

        public int handle(int in) {
            return VALUE;
        }
    }

    public static class BrokenConstructor {
        public BrokenConstructor() {
            throw new IllegalStateException("broken at start");
        }

        public int handle(int in) {
            return in;
        }
    }
}
