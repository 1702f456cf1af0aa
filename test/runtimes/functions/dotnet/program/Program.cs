using System;
using System.Net.Http;

// A program that speaks the Runtime API itself.
public static class Program
{
    public static void Main()
    {
        string api = "http://" + Environment.GetEnvironmentVariable("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/";
        using (var client = new HttpClient { Timeout = TimeSpan.FromHours(1) })
        {
            while (true)
            {
                HttpResponseMessage next = client.GetAsync(api + "next").Result;
                string id = string.Join("", next.Headers.GetValues("Lambda-Runtime-Aws-Request-Id"));
                string body = next.Content.ReadAsStringAsync().Result;
                client.PostAsync(api + id + "/response", new StringContent("{\"program\":" + body + "}")).Wait();
            }
        }
    }
}
