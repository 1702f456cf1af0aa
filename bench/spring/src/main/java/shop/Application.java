package shop;

import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.stereotype.Service;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RestController;

/** A small shop: a controller, a service and a record. */
@SpringBootApplication
public class Application {
    public static void main(String[] args) {
        SpringApplication.run(Application.class, args);
    }

    /** One thing for sale. */
    public record Item(String name, int price, List<String> tags) {}

    /** What the shop has. */
    @Service
    public static class Shelf {
        private final Map<String, Item> items = new ConcurrentHashMap<>(Map.of("pen", new Item("pen", 2, List.of("blue"))));

        Item find(String name) {
            return items.get(name);
        }

        void put(Item item) {
            items.put(item.name(), item);
        }
    }

    /** What the shop answers. */
    @RestController
    public static class Counter {
        private final Shelf shelf;

        Counter(Shelf shelf) {
            this.shelf = shelf;
        }

        @GetMapping("/items/{name}")
        public Item item(@PathVariable String name) {
            return shelf.find(name);
        }

        @PostMapping("/items")
        public Item add(@RequestBody Item item) {
            shelf.put(item);
            return item;
        }
    }
}
