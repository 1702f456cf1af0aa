using System;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using System.Text;
using System.Threading.Tasks;
using Amazon.Lambda.Core;

namespace Fn
{
    public class Order
    {
        public string Name { get; set; }
        public int Count { get; set; }
        public List<double> Prices { get; set; }
        public string Note { get; set; }
    }

    // The shapes that a handler may have.
    public class Forms
    {
        private int calls;

        public static string Static(string text)
        {
            return text.ToUpperInvariant();
        }

        public int Nothing()
        {
            return ++calls;
        }

        public string OnlyContext(ILambdaContext context)
        {
            return context.FunctionName.Length > 0 ? "context" : "";
        }

        public Order Poco(Order order)
        {
            order.Count++;
            return order;
        }

        public void Void(Order order)
        {
        }

        public async Task Task(Order order)
        {
            await System.Threading.Tasks.Task.Delay(1);
        }

        public async Task<Order> TaskOf(Order order, ILambdaContext context)
        {
            await System.Threading.Tasks.Task.Delay(1);
            return order;
        }

        public async Task<string> TaskFails(Order order)
        {
            await System.Threading.Tasks.Task.Delay(1);
            throw new Custom("late");
        }

        public Stream Streams(Stream input)
        {
            return new MemoryStream(Encoding.UTF8.GetBytes("\"" + new StreamReader(input).ReadToEnd().Length + "\""));
        }

        [LambdaSerializer(typeof(Loud))]
        public string Serialized(string text)
        {
            return "<" + text + ">";
        }

        // Found by name, as frameworks do.
        public bool ByName()
        {
            return Assembly.Load("Amazon.Lambda.Core") == typeof(ILambdaContext).Assembly && Type.GetType("Fn.Order, fn") == typeof(Order);
        }

        public object Setting()
        {
            return AppContext.GetData("Own.Setting");
        }

        public int Overloaded(int n)
        {
            return n;
        }

        public int Overloaded(string s)
        {
            return s.Length;
        }

        public async void AsyncVoid()
        {
            await System.Threading.Tasks.Task.Delay(1);
        }

        public int Three(int a, int b, int c)
        {
            return a;
        }

        public int Two(int a, int b)
        {
            return a;
        }

        public T Generic<T>(T a)
        {
            return a;
        }

        protected internal string Hidden()
        {
            return "hidden";
        }
    }

    public class Derived : Forms
    {
    }

    public abstract class Abstract
    {
        public int Handle()
        {
            return 1;
        }
    }

    public class Loud : ILambdaSerializer
    {
        public T Deserialize<T>(Stream stream)
        {
            string text = new StreamReader(stream).ReadToEnd();
            if (text == "{}")
            {
                throw new FormatException("not for me");
            }
            return (T)(object)text.ToUpperInvariant();
        }

        public void Serialize<T>(T response, Stream stream)
        {
            byte[] text = Encoding.UTF8.GetBytes("\"" + response + "!\"");
            stream.Write(text, 0, text.Length);
        }
    }

    public class BrokenConstructor
    {
        public BrokenConstructor()
        {
            throw new Custom("broken at start");
        }

        public int Handle()
        {
            return 1;
        }
    }

    public static class BrokenType
    {
        static readonly int n = int.Parse("broken");

        static BrokenType()
        {
        }

        public static int Handle()
        {
            return n;
        }
    }

    public class Exits
    {
        public Exits()
        {
            Environment.Exit(3);
        }

        public int Handle()
        {
            return 1;
        }
    }
}
