using System;
using System.Collections.Generic;
using System.IO;
using System.Reflection;
using System.Runtime.Loader;

namespace Lambent
{
    /// <summary>
    /// The function's assemblies: those in its folder, but for the ones that the framework has as
    /// new or newer, as the host decides between the two.
    /// </summary>
    internal sealed class Code : AssemblyLoadContext
    {
        private static readonly Dictionary<string, string> framework = Platform();
        private readonly string folder;
        private readonly AssemblyDependencyResolver resolver; // null without files for several systems

        internal Code(string folder, string name) : base("function")
        {
            this.folder = folder;
            // The framework's own way reads NAME.deps.json; it is needed only where a package
            // brings files for some systems, beneath runtimes/.
            if (Directory.Exists(Path.Combine(folder, "runtimes")))
            {
                resolver = new AssemblyDependencyResolver(Path.Combine(folder, name + ".dll"));
            }
            // What is found by name at run time, and what is emitted, is bound from elsewhere.
            Default.Resolving += delegate(AssemblyLoadContext from, AssemblyName wanted) { return Own(wanted); };
        }

        protected override Assembly Load(AssemblyName name)
        {
            string path = Find(name);
            return path == null || Framework(name, path) ? null : LoadFromAssemblyPath(path);
        }

        protected override IntPtr LoadUnmanagedDll(string name)
        {
            string path = resolver == null ? null : resolver.ResolveUnmanagedDllToPath(name);
            foreach (string candidate in new[] { path, Beside(name), Beside("lib" + name + ".so"), Beside(name + ".so") })
            {
                if (candidate != null && File.Exists(candidate))
                {
                    return LoadUnmanagedDllFromPath(candidate);
                }
            }
            return IntPtr.Zero;
        }

        private Assembly Own(AssemblyName name)
        {
            string path = Find(name);
            return path == null ? null : LoadFromAssemblyPath(path);
        }

        private string Find(AssemblyName name)
        {
            string path = resolver == null ? null : resolver.ResolveAssemblyToPath(name);
            if (path != null)
            {
                return path;
            }
            path = name.CultureName == null || name.CultureName.Length == 0 ? Beside(name.Name + ".dll")
                : Beside(Path.Combine(name.CultureName, name.Name + ".dll"));
            return path != null && File.Exists(path) ? path : null;
        }

        private string Beside(string name)
        {
            return name.IndexOf('\0') >= 0 ? null : Path.Combine(folder, name);
        }

        /// <summary>Tells whether the framework has the assembly at path, as new or newer.</summary>
        private static bool Framework(AssemblyName name, string path)
        {
            return framework.TryGetValue(name.Name, out string own) && GetAssemblyName(own).Version >= GetAssemblyName(path).Version;
        }

        /// <summary>The assemblies of the frameworks that the host has put together, by name.</summary>
        private static Dictionary<string, string> Platform()
        {
            var all = new Dictionary<string, string>();
            string paths = (string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES") ?? "";
            foreach (string path in paths.Split(Path.PathSeparator))
            {
                if (path.Length > 0 && path != typeof(Code).Assembly.Location)
                {
                    all[Path.GetFileNameWithoutExtension(path)] = path;
                }
            }
            return all;
        }
    }
}
