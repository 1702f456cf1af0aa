using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

namespace Lambent
{
    /// <summary>The C library's part: descriptors, sockets, and the environment that native code sees.</summary>
    internal static class Native
    {
        private const int Interrupted = 4; // EINTR, errno(3)
        private const int Local = 1, Internet = 2, Stream = 1, CloseOnExec = 0x80000, Tcp = 6, NoDelay = 1; // socket(2), tcp(7)
        private const int SetFlags = 2; // F_SETFD, fcntl(2)

        [DllImport("libc", SetLastError = true)]
        private static extern unsafe IntPtr read(int fd, byte* buffer, IntPtr size);

        [DllImport("libc", SetLastError = true)]
        private static extern unsafe IntPtr write(int fd, byte* buffer, IntPtr size);

        [DllImport("libc", SetLastError = true)]
        private static extern int close(int fd);

        [DllImport("libc", SetLastError = true)]
        private static extern int fcntl(int fd, int command, int argument);

        [DllImport("libc", SetLastError = true)]
        private static extern int socket(int domain, int type, int protocol);

        [DllImport("libc", SetLastError = true)]
        private static extern unsafe int socketpair(int domain, int type, int protocol, int* pair);

        [DllImport("libc", SetLastError = true)]
        private static extern unsafe int setsockopt(int fd, int level, int name, int* value, int size);

        [DllImport("libc", SetLastError = true)]
        private static extern unsafe int connect(int fd, byte* address, int size);

        [DllImport("libc")]
        private static extern int clearenv();

        [DllImport("libc")]
        private static extern unsafe int setenv(byte* name, byte* value, int replace);

        [DllImport("libc")]
        private static extern unsafe int unsetenv(byte* name);

        [DllImport("libc")]
        private static extern void tzset();

        /// <summary>Reads what there is, at most to the buffer's end; 0 at the end of file.</summary>
        internal static unsafe int Read(int fd, byte[] buffer, int at)
        {
            fixed (byte* start = buffer)
            {
                while (true)
                {
                    long n = (long)read(fd, start + at, (IntPtr)(buffer.Length - at));
                    if (n >= 0)
                    {
                        return (int)n;
                    }
                    Check("read");
                }
            }
        }

        /// <summary>Writes all of it.</summary>
        internal static unsafe void Write(int fd, byte[] data, int size)
        {
            fixed (byte* start = data)
            {
                for (int at = 0; at < size;)
                {
                    long n = (long)write(fd, start + at, (IntPtr)(size - at));
                    if (n >= 0)
                    {
                        at += (int)n;
                    }
                    else
                    {
                        Check("write");
                    }
                }
            }
        }

        internal static void Close(int fd)
        {
            close(fd); // nothing is left to do with it, whatever it says
        }

        internal static void SetCloseOnExec(int fd)
        {
            fcntl(fd, SetFlags, 1); // a descriptor that is not there shows at its first use
        }

        /// <summary>Opens a connection to an IPv4 address, in network order.</summary>
        internal static unsafe int Connect(byte[] host, int port)
        {
            int fd = socket(Internet, Stream | CloseOnExec, 0);
            if (fd < 0)
            {
                throw Failure("socket");
            }
            int on = 1;
            setsockopt(fd, Tcp, NoDelay, &on, sizeof(int)); // without it an answer is only later
            byte* address = stackalloc byte[16];
            *(ushort*)address = Internet;
            address[2] = (byte)(port >> 8);
            address[3] = (byte)port;
            for (int i = 0; i < 4; i++)
            {
                address[4 + i] = host[i];
            }
            *(ulong*)(address + 8) = 0;
            if (connect(fd, address, 16) < 0)
            {
                IOException e = Failure("connect");
                close(fd);
                throw e;
            }
            return fd;
        }

        /// <summary>Makes a connection within the process.</summary>
        internal static unsafe int[] Pair()
        {
            int* pair = stackalloc int[2];
            if (socketpair(Local, Stream | CloseOnExec, 0, pair) < 0)
            {
                throw Failure("socketpair");
            }
            return new[] { pair[0], pair[1] };
        }

        /// <summary>Gives native code another environment and time zone.</summary>
        internal static unsafe void Environment(Dictionary<string, string> env)
        {
            clearenv();
            foreach (KeyValuePair<string, string> pair in env)
            {
                fixed (byte* name = Text(pair.Key), value = Text(pair.Value))
                {
                    setenv(name, value, 1);
                }
            }
            tzset();
        }

        internal static unsafe void Unset(string name)
        {
            fixed (byte* text = Text(name))
            {
                unsetenv(text);
            }
        }

        private static byte[] Text(string s)
        {
            return Encoding.UTF8.GetBytes(s + "\0");
        }

        private static void Check(string call)
        {
            if (Marshal.GetLastWin32Error() != Interrupted)
            {
                throw Failure(call);
            }
        }

        private static IOException Failure(string call)
        {
            return new IOException(call + ": error " + Marshal.GetLastWin32Error());
        }
    }
}
